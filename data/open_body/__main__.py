"""``python -m data.open_body [GENDER ...]``: builds the open body model where it is missing and prints its path."""

from __future__ import annotations

import sys

from data.body_models import open_body_model
from pipeline.errors import InputError

try:
    for gender in sys.argv[1:] or ["neutral"]:
        print(open_body_model(gender))
except InputError as error:
    sys.exit(f"error: {error}")
