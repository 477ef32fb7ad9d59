"""Knowledge bases: sources into chunks, chunks into an immutable index, questions into the chunks that answer them."""
