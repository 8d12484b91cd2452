"""What a bundle runs on a device: the standard library, numpy and ONNX Runtime, nothing else.

These files, and those that they import, are copied into bundles as they are.
"""
