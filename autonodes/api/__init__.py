"""The custom resources and ``vcluster.yaml`` as pydantic models; CRDs and JSON schemas are generated from them."""
