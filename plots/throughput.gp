# throughput.gp: capacity (closed loop) of every server in every cell.
load source.'/grouped.gp'
