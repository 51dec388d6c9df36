"""Generated from konnectivity.proto by hack/generate."""
