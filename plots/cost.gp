# cost.gp: the server's CPU time of a request, at one rate for all.
load source.'/grouped.gp'
