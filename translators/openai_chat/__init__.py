"""OpenAI chat completions, as client dialect and as backend."""
