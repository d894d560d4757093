"""The service that a group shares: PostgreSQL, object store, MLflow and Ray, no containers.

`python -m cluster.service start | stop | status`, or `make service` and `make service-stop`.
"""
