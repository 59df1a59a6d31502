"""Read before any test: liveavatar limits how long threads spin, which must happen before torch is loaded."""

import liveavatar  # noqa: F401
