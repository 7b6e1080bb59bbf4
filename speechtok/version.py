"""The version of this library, read by the build and written into every token dataset."""

__version__ = "0.1.0.dev0"
