// Generated from the server's own types by tests/support/typescript.py; do not edit.

/** First of a stream: what will listen. */
export interface SessionCreated {
  type: "session.created";
  seq: number;
  audio_end_ms: number;
  lag_ms: number | null;
  session_id: string;
  protocol_version: number;
  config: Record<string, unknown>;
  bundle: Record<string, string>;
  providers: Array<string>;
  asr: string;
  resume_token: string | null;
  resume_grace_s: number | null;
  max_ahead_s: number | null;
}

/** The client's `session.update` is in force; `config` as in `session.created`. */
export interface SessionUpdated {
  type: "session.updated";
  seq: number;
  audio_end_ms: number;
  lag_ms: number | null;
  config: Record<string, unknown>;
}

/** First on a new connection of a dropped client; what it has missed follows. */
export interface SessionResumed {
  type: "session.resumed";
  seq: number;
  audio_end_ms: number;
  lag_ms: number | null;
  session_id: string;
  received_samples: number;
}

/** Enough speech was heard to call it an utterance; `audio_start` includes the pre-roll. */
export interface UtteranceStart {
  type: "utterance.start";
  seq: number;
  audio_end_ms: number;
  lag_ms: number | null;
  utterance_id: number;
  audio_start_ms: number;
}

/** An estimate while the person is still talking, from audio alone. */
export interface EmotionPartial {
  type: "emotion.partial";
  seq: number;
  audio_end_ms: number;
  lag_ms: number | null;
  utterance_id: number;
  audio_start_ms: number;
  revision: number;
  emotion: {
    top: string;
    probabilities: Record<string, number>;
  };
  affect: {
    valence: number;
    arousal: number;
    dominance: number;
  };
  confidence: number;
  abstained: boolean;
  speech_seconds: number;
}

/** The words so far, while the person is still talking; the next one may say otherwise. */
export interface TranscriptPartial {
  type: "transcript.partial";
  seq: number;
  audio_end_ms: number;
  lag_ms: number | null;
  utterance_id: number;
  audio_start_ms: number;
  revision: number;
  transcript: {
    text: string;
    language: string;
    avg_logprob: number;
    no_speech_prob: number;
    words: Array<{
      text: string;
      start_ms: number;
      end_ms: number;
      probability: number;
    }>;
  };
}

/** What was said; absent without ASR and when a gate dropped the text. */
export interface TranscriptFinal {
  type: "transcript.final";
  seq: number;
  audio_end_ms: number;
  lag_ms: number | null;
  utterance_id: number;
  audio_start_ms: number;
  transcript: {
    text: string;
    language: string;
    avg_logprob: number;
    no_speech_prob: number;
    words: Array<{
      text: string;
      start_ms: number;
      end_ms: number;
      probability: number;
    }>;
  };
}

/** The estimate of a whole utterance; `emotion` and `affect` are None when it failed. */
export interface EmotionFinal {
  type: "emotion.final";
  seq: number;
  audio_end_ms: number;
  lag_ms: number | null;
  utterance_id: number;
  audio_start_ms: number;
  emotion: {
    top: string;
    probabilities: Record<string, number>;
  } | null;
  affect: {
    valence: number;
    arousal: number;
    dominance: number;
  } | null;
  confidence: number;
  abstained: boolean;
  modalities: Array<string>;
  speech_seconds: number;
  closed_by: "silence" | "max_length" | "gap" | "eof";
  speech_end_ms: number;
  endpoint_ms: number;
  timings: {
    critical: Record<string, number>;
    compute: Record<string, number>;
    end_of_speech_to_emit: number;
  } | null;
}

/** The state of the conversation after an utterance. */
export interface RollingUpdate {
  type: "rolling.update";
  seq: number;
  audio_end_ms: number;
  lag_ms: number | null;
  estimate: {
    as_of_ms: number;
    emotion: {
      top: string;
      probabilities: Record<string, number>;
    };
    affect: {
      valence: number;
      arousal: number;
      dominance: number;
    };
    effective_seconds: number;
  };
}

/** All is said about this utterance. */
export interface UtteranceEnd {
  type: "utterance.end";
  seq: number;
  audio_end_ms: number;
  lag_ms: number | null;
  utterance_id: number;
  audio_start_ms: number;
  closed_by: "silence" | "max_length" | "gap" | "eof";
}

/** Something the user should know; the stream goes on. */
export interface Warning {
  type: "warning";
  seq: number;
  audio_end_ms: number;
  lag_ms: number | null;
  code: string;
  message: string;
}

/** Something failed. */
export interface Error {
  type: "error";
  seq: number;
  audio_end_ms: number;
  lag_ms: number | null;
  code: string;
  message: string;
  fatal: boolean;
  utterance_id: number | null;
  retry_after_s: number | null;
}

/** The answer to a `ping`, with its `id`; everything sent before the ping has been taken. */
export interface Pong {
  type: "pong";
  seq: number;
  audio_end_ms: number;
  lag_ms: number | null;
  id: string | null;
}

/** Last of a stream, with its totals. */
export interface SessionClosed {
  type: "session.closed";
  seq: number;
  audio_end_ms: number;
  lag_ms: number | null;
  reason: string;
  utterances: number;
  audio_seconds: number;
  speech_seconds: number;
  lost_samples: number;
}

export type ServerEvent =
  | SessionCreated
  | SessionUpdated
  | SessionResumed
  | UtteranceStart
  | EmotionPartial
  | TranscriptPartial
  | TranscriptFinal
  | EmotionFinal
  | RollingUpdate
  | UtteranceEnd
  | Warning
  | Error
  | Pong
  | SessionClosed;

export interface EventsByType {
  "session.created": SessionCreated;
  "session.updated": SessionUpdated;
  "session.resumed": SessionResumed;
  "utterance.start": UtteranceStart;
  "emotion.partial": EmotionPartial;
  "transcript.partial": TranscriptPartial;
  "transcript.final": TranscriptFinal;
  "emotion.final": EmotionFinal;
  "rolling.update": RollingUpdate;
  "utterance.end": UtteranceEnd;
  "warning": Warning;
  "error": Error;
  "pong": Pong;
  "session.closed": SessionClosed;
}

/** What a client may set for its own session. */
export interface Settings {
  /** encoding of a sample */
  encoding?: "s16le" | "f32le" | "mulaw" | "alaw";
  /** samples a second */
  sample_rate_hz?: number;
  /** interleaved channels; their mean is heard */
  channels?: number;
  /** once audio came, end the session after this long without a message; 0 never does */
  end_after_s?: number;
  /** speech detector */
  speech_detector?: "both" | "webrtc" | "silero";
  /** webrtcvad aggressiveness */
  webrtc_mode?: 0 | 1 | 2 | 3;
  /** Silero probability at which speech begins */
  silero_enter?: number;
  /** Silero probability at which speech goes on */
  silero_stay?: number;
  /** Silero probability that counts towards min_speech_ms */
  silero_sure?: number;
  /** speech needed to start an utterance */
  start_voiced_ms?: number;
  /** ... within this window */
  start_window_ms?: number;
  /** audio kept from before the start */
  pre_roll_ms?: number;
  /** silence that ends an utterance */
  hangover_ms?: number;
  /** an utterance with less sure speech is dropped */
  min_speech_ms?: number;
  /** this long after an utterance, speech need not be sure */
  talk_memory_s?: number;
  /** an utterance is cut at this length */
  max_utterance_s?: number;
  /** ... at the quietest frame from here on */
  soft_split_s?: number;
  /** silence after which the final is computed ahead, and kept at its end */
  speculate_after_ms?: number;
  /** compute finals ahead, during the hangover */
  speculation?: boolean;
  /** estimates while the person is still talking */
  partials?: boolean;
  /** time between partial estimates */
  partial_interval_ms?: number;
  /** speech heard before the first one */
  partial_first_ms?: number;
  /** audio that a partial looks back on */
  partial_window_s?: number;
  /** the words so far, too: in pauses, and where transcribing them delays no final */
  partial_transcripts?: boolean;
  /** seconds of speech after which an utterance counts half */
  rolling_half_life_s?: number;
  /** a live stream warns when finals come this much late */
  lag_warning_ms?: number;
}
