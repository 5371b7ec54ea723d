#include "line.h"

static void put(mg_line_t *line, char c) {
    if (line->length < sizeof line->text - 2) line->text[line->length++] = c; /* room for the newline and the 0 */
}

void mg_line_begin(mg_line_t *line, const char *text) {
    line->length = 0;
    mg_line_text(line, text);
}

void mg_line_text(mg_line_t *line, const char *text) {
    while (*text) put(line, *text++);
}

void mg_line_number(mg_line_t *line, uint32_t value) {
    uint32_t unit = 1;
    while (value / unit >= 10) unit *= 10;
    for (; unit; unit /= 10) put(line, "0123456789"[value / unit % 10]);
}

void mg_line_hex(mg_line_t *line, uint32_t value) {
    for (uint32_t shift = 32; shift; shift -= 4) put(line, "0123456789abcdef"[(value >> (shift - 4)) & 15u]);
}

const char *mg_line_end(mg_line_t *line) {
    line->text[line->length] = '\n';
    line->text[line->length + 1] = 0;
    return line->text;
}
