# style.gp: the one look of all figures. Loaded first by every figure; draws nothing.
#
# Given by `loopmark plot`: format, output, width, height (pixels), title, caption ('|' stands for a
# new line), servers (quoted words), styles (a number a server, the same in all figures of an
# experiment).

if (format eq 'png') {
    set terminal pngcairo noenhanced size width, height font 'sans-serif,11' background rgb 'white'
} else {
    set terminal svg noenhanced size width, height font 'sans-serif,13' background rgb 'white'
}
set output output
set encoding utf8

# Okabe and Ito's palette, which colour-blind readers can tell apart; yellow last, it is pale on
# white.
palette_size = 8
array palette[8] = [0x0072B2, 0xD55E00, 0x009E73, 0xCC79A7, 0xE69F00, 0x56B4E9, 0x000000, 0xB8A800]
array filled[6] = [7, 5, 9, 11, 13, 15]     # each has its hollow twin one below
style_of(i) = int(word(styles, i))
color(i) = palette[1 + (style_of(i) - 1) % palette_size]
shape(i) = filled[1 + (style_of(i) - 1) % 6]
dash(i) = 1 + (style_of(i) - 1) % 5         # dash types 1 … 5 differ in grey, too
server(i) = word(servers, i)

# kind (a column of the data): 0 may be ranked, 1 not ranked, 2 invalid
CROSS = 2
mark(i, kind) = kind == 2 ? CROSS : shape(i) - (kind == 1)

# '|' to a new line, in labels
lines(s) = (strstrt(s, '|') ? s[1:strstrt(s, '|') - 1]."\n".lines(s[strstrt(s, '|') + 1:]) : s)
caption_rows = 1
do for [k = 1:strlen(caption)] { if (caption[k:k] eq '|') { caption_rows = caption_rows + 1 } }

caption_size = format eq 'png' ? 8 : 10
caption_px = 15 * caption_rows + 12
set label 1000 lines(caption) at graph 0, screen (caption_px - 10.0) / height left \
    font sprintf('sans-serif,%d', caption_size) textcolor rgb '#444444'

set title title font 'sans-serif,13' offset 0, 0.3
set border 3 lc rgb '#666666'
set tics nomirror out
set grid ytics lc rgb '#DDDDDD' lt 1 lw 1
set key outside right top vertical Left reverse samplen 2.5 spacing 1.25
set style line 100 lc rgb '#444444' lw 1
set format y '%.10g'
