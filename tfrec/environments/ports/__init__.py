"""Published simulators as TensorFlow graphs: RecSim, RecoGym and VirtualTB."""
