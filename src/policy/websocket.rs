//! Is a request a WebSocket handshake, whose origin, which subprotocol (RFC 6455 §4).
