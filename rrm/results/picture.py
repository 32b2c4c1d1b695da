"""image.png and the pyramid, from rows of tiles: strips are deflated apart, in parallel, and laid end to end."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Mapping
from concurrent.futures import Executor
from itertools import batched
from pathlib import Path
from typing import IO

import numpy as np

from rrm.results import deflate, png
from rrm.results.png import Bytes
from rrm.results.pyramid import PyramidBuilder
from rrm.results.shelf import Shelf
