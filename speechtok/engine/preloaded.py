"""What workers of a job need, imported before they are forked from each other."""

import pyarrow as pa

import speechtok.engine.worker
import speechtok.tokenizers.base  # noqa: F401

pa.array([0])  # has pyarrow load pandas, which it else does when the first rows are written
