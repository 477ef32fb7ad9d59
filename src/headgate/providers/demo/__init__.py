"""The demo upstream: a small deterministic stand-in for a model provider, spoken to in the OpenAI and Anthropic
dialects. It reads requests by plain word rules; it is no language model, and its answers say so.
"""
