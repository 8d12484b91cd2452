"""Rewrites of ONNX models, one idea a file."""
