"""What travels on the wire: event streams, usage in answers, edits of raw JSON, error envelopes, transcripts."""
