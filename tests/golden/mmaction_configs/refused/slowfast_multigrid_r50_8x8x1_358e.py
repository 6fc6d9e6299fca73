# long and short cycles change the clips and the batch, and the schedule counts with them
_base_ = ["../v0/slowfast_r50_4x16x1_256e_kinetics400_rgb.py"]
multigrid = dict(long_cycle=True, short_cycle=True, epoch_factor=1.5)
