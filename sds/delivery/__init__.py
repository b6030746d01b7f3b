"""The SDS engine: what a caller may have (view), what each stream holds (stream), and the gRPC service on top."""
