# p99.gp: 99th percentile of the response time from the intended time, at one rate for all.
load source.'/grouped.gp'
