"""pii-shield-wasi: finds secrets in logs, in Go. The names it gives them change from run to run."""

import re

from pii_shield import PiiShield, PiiShieldConfig

LINES = (
    "Connecting to DB with password: MySuperSecretPassword123!",
    "user bob@example.com card 4111 1111 1111 1111",
    "token=ghp_16C7e42F292c6912E7710c838347Ae178B4a",
)

shield = PiiShield(PiiShieldConfig(entropy_threshold=4.0, confidence_score=0.8))
print(re.sub("HIDDEN:[0-9a-f]{6}", "HIDDEN", shield.redact("\n".join(LINES * 5))))
