// errors.mjs: what a client is told when its request can't be answered, in OpenAI's shape. Everything else that is thrown is the server's
// own fault and becomes a 500 without details.

export class ApiError extends Error {
    constructor(status, message, { type = "invalid_request_error", param = null, code = null } = {}) {
        super(message);
        this.status = status;
        this.type = type;
        this.param = param;
        this.code = code;
    }

    body() {
        return { error: { message: this.message, type: this.type, param: this.param, code: this.code } };
    }
}

export function invalid(param, message, code = null) {
    return new ApiError(400, `${param}: ${message}`, { param, code });
}

export function asApiError(error) {
    if (error instanceof ApiError)
        return error;
    return new ApiError(500, "The engine failed on this request; its log says why.", { type: "server_error", code: "engine_failed" });
}
