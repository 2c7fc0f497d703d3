# sweep.gp: response time against load, `load --sweep`: what the server still sustains, and where
# its latency leaves the level it has at low load.
#
# data   index i-1, of the i-th quantile: rate, then ms low high kind
# needs  knee (a rate; 0: none), unsustained_from (a rate; 0: all were sustained)
# kind here: 0 valid, 1 not valid (hollow)

load source.'/style.gp'
n = words(servers)
set bmargin screen (caption_px + 60.0) / height
set logscale xy
set xrange [x_least / 1.15:x_most * 1.15]
set yrange [y_least / 1.5:y_most * 1.5]
set xlabel 'offered rate (requests/s), log scale'
set ylabel 'response time (ms), log scale'
set xtics (1e-3)
do for [e = -1:7] {
    do for [m in '1 2 5'] { x = m * 10.0**e; set xtics add (gprintf('%.0s%c', x) x) }
}
# Of few decades 1, 2 and 5 are labelled, of many only the powers of ten fit.
if (y_most < 300 * y_least) {
    set ytics (1e-9)
    do for [e = -6:5] {
        do for [m in '1 2 5'] { y = m * 10.0**e; set ytics add (sprintf('%g', y) y) }
    }
}
if (unsustained_from > 0) {
    set object 1 rectangle from first unsustained_from / 1.04, graph 0 to graph 1, graph 1 \
        behind fc rgb '#F2E3E3' fs solid noborder
    set label 1 'not sustained' at graph 0.99, graph 0.03 right \
        textcolor rgb '#994444' font 'sans-serif,10'
}
if (knee > 0) {
    set arrow 1 from first knee, graph 0 to first knee, graph 1 nohead lc rgb '#444444' dt 2 lw 1.2
    set label 2 'knee ' at first knee, graph 0.97 right textcolor rgb '#444444' \
        font 'sans-serif,10'
}
plot for [i = 1:n] data index i-1 using 1:2 with lines lw 2 dt dash(i) lc rgb color(i) notitle, \
     for [i = 1:n] data index i-1 using 1:2:3:4 with yerrorbars pt 0 lw 1.3 lc rgb color(i) \
         notitle, \
     for [i = 1:n] data index i-1 using 1:2:(mark(i, $5)) with points pt variable ps 1.2 \
         lc rgb color(i) notitle, \
     for [i = 1:n] keyentry with linespoints lw 2 dt dash(i) pt shape(i) ps 1.2 lc rgb color(i) \
         title server(i), \
     keyentry with points pt 6 ps 1.2 lc rgb '#444444' title 'hollow: not valid'
