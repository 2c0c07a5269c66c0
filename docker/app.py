"""The application of compose.yaml: asks one question at OPENAI_BASE_URL and prints the answer. Put yours here."""

import json
import os
import sys
import urllib.request

question = {"model": os.environ.get("MODEL", "demo/echo"), "messages": [{"role": "user", "content": "Hello"}]}
request = urllib.request.Request(  # noqa: S310  the address is the operator's own
    os.environ["OPENAI_BASE_URL"] + "/chat/completions",
    json.dumps(question).encode(),
    {"content-type": "application/json", "authorization": f"Bearer {os.environ.get('OPENAI_API_KEY', 'none')}"},
)
with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
    sys.stdout.write(json.load(answer)["choices"][0]["message"]["content"] + "\n")
