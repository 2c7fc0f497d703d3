# Writes the vectors of wilcoxon.json:  Rscript tests/data/wilcoxon.R > tests/data/wilcoxon.json
# Base R only. Two oracles:
#   wilcox.test  R's exact test, estimate and interval; it has no exact test with ties or zeros
#   enumeration  all 2^n signs on mid-ranks, zeros ranked and then left out (Pratt); the interval is
#                R's own rule without ties, the Walsh averages at qsignrank from either end
RNGversion("4.2.0")
set.seed(20240229)

number <- function(x) if (is.finite(x)) sprintf("%.15g", x) else "null"
numbers <- function(x) paste0("[", paste(vapply(x, number, ""), collapse = ", "), "]")

# R gives the widest interval where none reaches the level; here that counts as not bounded.
bounded <- function(n, level) 2 * psignrank(0, n) <= 1 - level

walsh_interval <- function(x, level) {
    sums <- outer(x, x, "+")
    walsh <- sort(sums[lower.tri(sums, diag = TRUE)] / 2)
    cut <- max(1, qsignrank((1 - level) / 2, length(x)))
    list(estimate = median(walsh), low = walsh[cut], high = walsh[length(walsh) + 1 - cut])
}

by_wilcox_test <- function(x, level) {
    stopifnot(!anyDuplicated(abs(x)), all(x != 0))
    r <- suppressWarnings(wilcox.test(x, exact = TRUE, conf.int = TRUE, conf.level = level))
    list(p = r$p.value, estimate = unname(r$estimate), low = r$conf.int[1], high = r$conf.int[2])
}

by_enumeration <- function(x, level) {
    ranks <- rank(abs(x))[x != 0]
    observed <- abs(sum(ranks * sign(x[x != 0])))
    signs <- as.matrix(expand.grid(rep(list(c(-1, 1)), length(ranks))))
    p <- if (length(ranks)) mean(abs(signs %*% ranks) >= observed) else 1
    c(list(p = p), walsh_interval(x, level))
}

vector_json <- function(name, oracle, x, level) {
    r <- if (oracle == "wilcox.test") by_wilcox_test(x, level) else by_enumeration(x, level)
    ok <- bounded(length(x), level)
    sprintf(paste0('    {"name": "%s", "oracle": "%s", "confidence": %s,\n',
                   '     "p": %s, "estimate": %s, "low": %s, "high": %s,\n     "values": %s}'),
            name, oracle, number(level), number(r$p), number(r$estimate),
            if (ok) number(r$low) else "null", if (ok) number(r$high) else "null", numbers(x))
}

draw <- list(normal = function(n) rnorm(n),
             shifted = function(n) rnorm(n, 0.6),
             skewed = function(n) rexp(n) - 0.7,
             heavy = function(n) rcauchy(n, -0.5))
vectors <- character()
for (n in c(3:16, 18, 20, 24, 27, 30, 40)) for (shape in names(draw)) {
    x <- signif(draw[[shape]](n), 6)
    for (level in c(0.95, 0.99, 0.9)[if (n %% 4 == 0) 1:3 else 1])
        vectors <- c(vectors, vector_json(sprintf("%s n=%d", shape, n), "wilcox.test", x, level))
}
for (n in c(3, 5, 6, 8, 10, 12, 14, 16)) {
    ties <- sample(c(-4:-1, 1:7), n, replace = TRUE)
    zeros <- replace(signif(rnorm(n, 0.5), 6), sample(n, ceiling(n / 4)), 0)
    both <- sample(-2:4, n, replace = TRUE)
    vectors <- c(vectors, vector_json(sprintf("ties n=%d", n), "enumeration", ties, 0.95),
                 vector_json(sprintf("zeros n=%d", n), "enumeration", zeros, 0.95),
                 vector_json(sprintf("ties and zeros n=%d", n), "enumeration", both, 0.95))
}
# All the same sign but for zeros, and nothing but zeros.
vectors <- c(vectors, vector_json("one sign and zeros", "enumeration", c(0, 0, 1:8), 0.95),
             vector_json("small against", "enumeration", c(0, 0, 0, -1, 2:8), 0.95),
             vector_json("all equal", "enumeration", rep(0.5, 8), 0.95),
             vector_json("all zero", "enumeration", rep(0, 7), 0.95))

family <- list(c(0.01, 0.02, 0.03, 0.04, 0.05), c(0.04, 0.001, 0.9, 0.012, 0.012, 0.3),
               c(0.8, 0.7, 0.6), 0.03, c(0.02, 0.5, 0.02, 0.0005, 0.011, 0.0490, 0.013))
holm <- vapply(family, function(p)
    sprintf('    {"p": %s, "adjusted": %s}', numbers(p), numbers(p.adjust(p, "holm"))), "")

cat(sprintf('{\n  "generator": "%s",\n  "vectors": [\n%s\n  ],\n  "holm": [\n%s\n  ]\n}\n',
            R.version.string, paste(vectors, collapse = ",\n"), paste(holm, collapse = ",\n")))
