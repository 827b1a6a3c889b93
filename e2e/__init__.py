"""End-to-end tests of Serinus on a real cluster, and the cluster they run on."""
