"""The health check of the image: 0 when this gateway can relay. `/readyz` answers 503 when it cannot."""

import json
import os
import sys
import urllib.request
from pathlib import Path

try:
    # Written by `headgate serve` once it is ready, with the address it was told to take.
    server = json.loads((Path(os.environ["HEADGATE_HOME"]) / "run" / "server.json").read_text())
    with urllib.request.urlopen(f"{server['url']}/readyz", timeout=4) as answer:
        sys.exit(answer.status != 200)
except (OSError, ValueError, KeyError) as error:
    sys.exit(f"not ready: {error}")
