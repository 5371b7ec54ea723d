/* libFuzzer against the device's side of the line. An input is a list of actions: bytes as they come, requests in sound
 * frames with any verb and payload, resets, claims. Beyond what the sanitizers see, it is checked that
 *   bytes without a sound frame change nothing of the model,
 *   a request that is refused leaves the state as it is,
 *   a request that comes again changes nothing and is answered alike. */
#include "memory.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { ROOM = 4096, SESSION = 0x51, ANSWER = 0x80 };

static memory_t device;
static uint8_t before[sizeof device.model];
static uint8_t wire[2][ROOM], answers[2][ROOM];

static void require(bool holds) {
    if (!holds) abort();
}

static uint32_t serve(const uint8_t *bytes, uint32_t count, uint8_t *answer, uint32_t *length) {
    uint32_t room = ROOM;
    const uint32_t requests = memory_serve(&device, bytes, count, answer, &room);
    *length = ROOM - room;
    return requests;
}

static uint32_t pack(uint8_t verb, uint16_t sequence, uint32_t session, const uint8_t *payload, uint32_t bytes, uint8_t *to) {
    uint8_t content[MG_SERIAL_FRAME] = {verb, 0, (uint8_t)sequence, (uint8_t)(sequence >> 8)};
    uint32_t count = MG_SERIAL_HEADER + bytes, length = 0;
    for (uint32_t i = 0; i < 4; i++) content[4 + i] = (uint8_t)(session >> 8 * i);
    memcpy(content + MG_SERIAL_HEADER, payload, bytes);
    const uint32_t crc = ~mg_crc32(0xFFFFFFFFu, content, count);
    for (uint32_t i = 0; i < 4; i++) content[count++] = (uint8_t)(crc >> 8 * i);
    to[length++] = 0;
    for (uint32_t begin = 0, end; begin <= count; begin = end + 1) {
        for (end = begin; end < count && content[end] != 0;) end++;
        to[length++] = (uint8_t)(end - begin + 1);
        memcpy(to + length, content + begin, end - begin);
        length += end - begin;
    }
    to[length++] = 0;
    return length;
}

/* Its status: the second byte of the content, behind one code or two. */
static uint32_t status_of(const uint8_t *answer, uint32_t length) {
    require(length >= 15 && answer[0] == 0 && answer[length - 1] == 0);
    require(memchr(answer + 1, 0, length - 2) == NULL);
    return answer[1] == 2 ? 0 : answer[3];
}

static void open_session(void) {
    uint32_t length;
    uint8_t old[4];
    for (uint32_t i = 0; i < 4; i++) old[i] = (uint8_t)(device.serial.line.session >> 8 * i);
    const uint32_t session = device.serial.line.session == SESSION ? SESSION + 1 : SESSION;
    require(serve(wire[0], pack(MG_VERB_OPEN, 0, session, old, 4, wire[0]), answers[0], &length) == 1);
    require(status_of(answers[0], length) == MG_STATUS_OK && device.serial.line.session == session);
}

/* Ends whatever the bytes before had begun, and drops what they had completed. */
static void flush(void) {
    uint32_t length;
    (void)serve((const uint8_t[]){0}, 1, answers[0], &length);
}

static void raw(const uint8_t *bytes, uint32_t count) {
    uint32_t length;
    memcpy(before, &device.model, sizeof before);
    if (serve(bytes, count, answers[0], &length) == 0) require(memcmp(before, &device.model, sizeof before) == 0);
}

static void request(uint8_t verb, const uint8_t *payload, uint32_t bytes) {
    const uint32_t session = device.serial.line.session;
    const uint16_t sequence = (uint16_t)(device.serial.line.sequence + 1);
    if (verb == MG_VERB_INFO || verb == MG_VERB_OPEN || verb >= ANSWER) return;
    uint32_t length[2];
    const uint32_t count = pack(verb, sequence, session, payload, bytes, wire[0]);
    memcpy(before, &device.model, sizeof before);
    require(serve(wire[0], count, answers[0], &length[0]) == 1);
    const uint32_t status = status_of(answers[0], length[0]);
    require(status != MG_STATUS_SESSION && status != MG_STATUS_ORDER);
    if (status != MG_STATUS_OK && status != MG_STATUS_DAMAGED)
        require(memcmp(before, &device.model, sizeof device.model.state) == 0);
    memcpy(before, &device.model, sizeof before);
    require(serve(wire[0], count, answers[1], &length[1]) == 1);
    require(memcmp(before, &device.model, sizeof before) == 0);
    require(length[0] == length[1] && memcmp(answers[0], answers[1], length[0]) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const uint8_t *const end = data + size;
    const bool has_flash = size != 0 && *data & 1;
    memory_erase(&device);
    memory_boot(&device, 4, has_flash);
    open_session();
    while (end - data >= 2) {
        const uint8_t action = *data++;
        uint32_t count = *data++;
        if (count > (uint32_t)(end - data)) count = (uint32_t)(end - data);
        if (action < 0x40) {
            flush();
            request(action, data, count < MG_SERIAL_PAYLOAD ? count : MG_SERIAL_PAYLOAD);
            data += count < MG_SERIAL_PAYLOAD ? count : MG_SERIAL_PAYLOAD;
        } else if (action < 0xC0) {
            raw(data, count);
            data += count;
        } else if (action < 0xE0) {
            mg_serial_claim(&device.serial.line);
        } else {
            memory_boot(&device, 4, has_flash);
            open_session();
        }
    }
    return 0;
}
