"""Environments of the ecosystem (PettingZoo Parallel and AEC, Gymnasium) behind the contract of
`env_server.environments.environment_contracts`."""
