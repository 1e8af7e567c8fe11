"""Networks, action distributions and optimisers that several learners share."""
