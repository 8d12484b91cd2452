"""What target cuda needs beyond its lowering: float32 parts and evidence on the GPU."""
