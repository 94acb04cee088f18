import type {
  EventsByType,
  ServerEvent,
  SessionClosed,
  SessionCreated,
  Settings,
} from "./events.js";

export * from "./events.js";

export interface ConnectOptions {
  /** How the audio comes and how it is judged; see clients/PROTOCOL.md. */
  settings?: Settings;
  /** What the server asks for with --token. */
  token?: string;
  /** A WebSocket class, where the platform has none: that of the package `ws`. */
  WebSocket?: unknown;
}

/** Said by the client itself, beside what the server says. */
export interface ClientEventsByType {
  /** The connection is gone; an attempt to come back follows. */
  reconnecting: { attempt: number; error: RealtimeSERError };
  /** Nothing more comes; `error` says why, or is null after an orderly end. */
  end: { error: RealtimeSERError | null };
  "*": ServerEvent;
}

export type SessionEventsByType = EventsByType & ClientEventsByType;

/**
 * Something that ended a session. `code` is one of the server's (see clients/PROTOCOL.md) or
 * no_websocket, unreachable, disconnected, closed, not_confirmed, aborted.
 */
export declare class RealtimeSERError extends Error {
  constructor(code: string, message: string, retryAfterS?: number | null);
  readonly code: string;
  readonly retryAfterS: number | null;
}

export declare class Session extends EventTarget implements AsyncIterable<ServerEvent> {
  private constructor();
  readonly created: SessionCreated;
  /** Resolves with the totals; rejects with a RealtimeSERError when the session failed. */
  readonly closed: Promise<SessionClosed>;
  readonly unconfirmedSeconds: number;
  /** Float32Array: -1 to 1. Bytes are in the session's encoding. Resolves when there is room. */
  send(audio: Float32Array | Int16Array | Uint8Array | ArrayBuffer): Promise<void>;
  close(): Promise<SessionClosed>;
  abort(): void;
  on<Type extends keyof SessionEventsByType>(
    type: Type,
    callback: (event: SessionEventsByType[Type]) => void,
  ): () => void;
  addEventListener<Type extends keyof SessionEventsByType>(
    type: Type,
    listener: (event: CustomEvent<SessionEventsByType[Type]>) => void,
    options?: AddEventListenerOptions | boolean,
  ): void;
  addEventListener(
    type: string,
    listener: EventListenerOrEventListenerObject | null,
    options?: AddEventListenerOptions | boolean,
  ): void;
  [Symbol.asyncIterator](): AsyncGenerator<ServerEvent, void, void>;
}

/** `url`: ws, wss, http or https; without a path, /v1/stream is meant. */
export declare function connect(url: string | URL, options?: ConnectOptions): Promise<Session>;
