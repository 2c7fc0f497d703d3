# percentiles.gp: response time by percentile, HdrHistogram's view: the x axis is 1/(1 - p) in log
# scale, so that each further nine has the same width. A curve ends where fewer than 5 responses lie
# beyond it.
#
# data   index i-1: 1/(1-p), milliseconds, of server i

load source.'/style.gp'
n = words(servers)
set bmargin screen (caption_px + 60.0) / height
set logscale xy
set xrange [1:x_most]
set yrange [y_least / 1.3:y_most * 1.3]
set xlabel 'percentile of the responses, all valid repetitions together'
set ylabel ylabel.', log scale'
set xtics ('0 %%' 1, '50 %%' 2, '90 %%' 10, '99 %%' 100, '99.9 %%' 1e3, '99.99 %%' 1e4, \
           '99.999 %%' 1e5, '99.9999 %%' 1e6, '99.99999 %%' 1e7)
set grid xtics
plot for [i = 1:n] data index i-1 using 1:2 with lines lw 2.2 dt dash(i) lc rgb color(i) \
         title server(i)
