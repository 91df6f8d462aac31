"""The online methods that IMRL is compared with, one module each.

`sac`, `td3`, `ddpg`, `slateq`, `reinforce`, `pgpr`, `tpgr`, `kgrl` and `deers`: each has a
class of the module's name, `Sac(config, simulator, seed)`, a `tfrec.methods.online.Method`.
Their options are in `config`, which needs no TensorFlow.
"""
