"""Stored prompts: what a version is, its file, its templates, and the provider request made of them.

Nothing is imported here, so that a gateway worker pays for Jinja2 only when a prompt is called.
"""
