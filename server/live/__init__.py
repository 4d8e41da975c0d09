"""What a running server shows: a web page, Prometheus metrics, TensorBoard files."""
