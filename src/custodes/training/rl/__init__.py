"""Reinforcement learning: what PPO and trl's online methods share."""
