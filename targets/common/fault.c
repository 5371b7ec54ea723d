/* One line that says which fault, at which address, and why; the runner turns it into the user's sentence. */
#include "fault.h"

#include "board.h"
#include "line.h"

void mg_fault_report(const mg_fault_t *fault) {
    mg_line_t line;
    mg_line_begin(&line, "@mcugrad fault address=");
    mg_line_hex(&line, fault->address);
    mg_line_text(&line, " pc=");
    mg_line_hex(&line, fault->pc);
    mg_line_text(&line, " status=");
    mg_line_hex(&line, fault->status);
    mg_line_text(&line, " reason=");
    mg_line_text(&line, fault->reason);
    mg_report(mg_line_end(&line));
    mg_exit(MG_EXIT_FAULT);
}
