/* One line of text, built on the stack: what a firmware needs of stdio. What does not fit is cut off. */
#ifndef MG_LINE_H
#define MG_LINE_H

#include <stdint.h>

typedef struct {
    char text[120];
    uint32_t length;
} mg_line_t;

void mg_line_begin(mg_line_t *line, const char *text);
void mg_line_text(mg_line_t *line, const char *text);
void mg_line_number(mg_line_t *line, uint32_t value); /* decimal */
void mg_line_hex(mg_line_t *line, uint32_t value);    /* eight digits */
const char *mg_line_end(mg_line_t *line);             /* with a newline, ended by 0 */

#endif
