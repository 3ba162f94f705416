"""What tests against references share lies beside the tests of the models."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent.parent / "models" / "diffusion"))
sys.path.append(str(Path(__file__).parent))
