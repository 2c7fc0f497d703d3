# grouped.gp: shared by throughput.gp, p99.gp and cost.gp. One group of servers a cell; every
# repetition is a dot, from left to right in the order measured; the bar is the median, the whisker
# its 95 % interval.
#
# data   index 0: x label · then for server i two blocks:
#        2i-1: x value kind (a repetition) · 2i: x median low high kind (the row). The whiskers are
#        vectors: error bars would blot out the dots around the median
# needs  ylabel, y_least, y_most, groups, bar (half the width of a median's bar)

load source.'/style.gp'
n = words(servers)
set bmargin screen (caption_px + 22 + 17.0 * tick_rows) / height
set ylabel ylabel
set xrange [-0.5:groups - 0.5]
set xtics scale 0
if (y_most > 20 * y_least) {
    set logscale y
    set yrange [y_least / 1.5:y_most * 1.5]
    set ylabel ylabel.', log scale'
} else {
    set yrange [0:y_most * 1.08]
}
do for [g = 1:groups - 1] {
    set arrow from g - 0.5, graph 0 to g - 0.5, graph 1 nohead lc rgb '#CCCCCC' dt 3
}
plot data index 0 using 1:(y_most * 10):xtic(lines(strcol(2))) with points pt 0 notitle, \
     for [i = 1:n] data index 2*i-1 using 1:2:(mark(i, $3)) with points pt variable ps 0.8 \
         lc rgb color(i) notitle, \
     for [i = 1:n] data index 2*i using 1:3:(0):($4 - $3) with vectors nohead lw 1.6 \
         lc rgb color(i) notitle, \
     for [i = 1:n] data index 2*i using ($1 - bar):2:(2 * bar):(0) with vectors nohead lw 3 \
         lc rgb color(i) notitle, \
     for [i = 1:n] keyentry with points pt shape(i) ps 1.2 lc rgb color(i) title server(i), \
     keyentry with points pt 6 ps 1.2 lc rgb '#444444' title 'hollow: not ranked', \
     keyentry with points pt CROSS ps 1.2 lc rgb '#444444' title 'invalid', \
     keyentry with lines lw 3 lc rgb '#444444' title 'median'
