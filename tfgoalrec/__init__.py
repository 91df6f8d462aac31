"""GoalRec: a world model of measurements, ranked under any goal (Wang et al., AAAI 2021)."""
