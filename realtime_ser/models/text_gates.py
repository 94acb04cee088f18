"""Which texts of Whisper to believe.

On near-silence and noise Whisper writes fluent text that nobody spoke ("Thanks for watching!"),
loops, or babbles in a foreign script. The gates here drop such a text; the emotion is then
estimated from the voice alone. They are pure functions of what Whisper answered.
"""

from __future__ import annotations

import math
import unicodedata
import zlib
from dataclasses import dataclass
from enum import StrEnum

# Fast speech has about 7 syllables a second (Pellegrino, Coupé & Marsico 2011, Language 87:539)
# and at most two tokens a syllable in Latin script; scripts that Whisper spells in bytes need
# twice that. The slack is for punctuation, and for words cut at either end of the utterance.
MAX_TOKENS_PER_SECOND_LATIN = 14.0
MAX_TOKENS_PER_SECOND = 28.0
TOKEN_SLACK = 6


class DropReason(StrEnum):
    """Why a text was dropped; the first that applies, in this order."""

    EMPTY = "empty"
    NO_SPEECH = "no_speech"
    LOW_LOGPROB = "low_logprob"
    REPETITIVE = "repetitive"
    TOO_MANY_TOKENS = "too_many_tokens"
    KNOWN_PHRASE = "known_phrase"


@dataclass(frozen=True, slots=True)
class Decoding:
    """What Whisper answered for one utterance.

    Attributes:
        tokens: how many tokens `text` was decoded from.
        avg_logprob: mean log probability of the tokens, in nats.
        no_speech_prob: Whisper's probability that there was no speech.
        duration_s: length of the audio, in seconds.
        least_logprob: log probability of the least likely token, in nats; None when not asked for.
    """

    text: str
    tokens: int
    avg_logprob: float
    no_speech_prob: float
    duration_s: float
    least_logprob: float | None = None


@dataclass(frozen=True, slots=True)
class Gates:
    """The thresholds of a model; by default those of openai/whisper, whisper/transcribe.py.

    Attributes:
        max_no_speech_prob: above it an improbable text is put down to there being no speech.
        min_avg_logprob: texts of less are improbable; in nats per token.
        max_compression_ratio: texts that repeat themselves more are loops.
        min_token_logprob: texts with a token of less are improbable, in nats; ours, and off by
            default. A recognizer of a few sentences hesitates where an unknown one departs from
            those it knows, and is sure of the rest: a mean hides that one token.
    """

    max_no_speech_prob: float = 0.6
    min_avg_logprob: float = -1.0
    max_compression_ratio: float = 2.4
    min_token_logprob: float = -math.inf


WHISPER_GATES = Gates()


def drop_reason(decoding: Decoding, gates: Gates = WHISPER_GATES) -> DropReason | None:
    """Return why to drop the text, or None when it is to be believed."""
    if not any(character.isalnum() for character in decoding.text):
        return DropReason.EMPTY
    least = 0.0 if decoding.least_logprob is None else decoding.least_logprob
    # Negated so that a log probability of NaN counts as a bad one.
    improbable = not (
        decoding.avg_logprob >= gates.min_avg_logprob and least >= gates.min_token_logprob
    )
    if improbable and decoding.no_speech_prob > gates.max_no_speech_prob:
        return DropReason.NO_SPEECH
    if improbable:
        return DropReason.LOW_LOGPROB
    if compression_ratio(decoding.text) > gates.max_compression_ratio:
        return DropReason.REPETITIVE
    if decoding.tokens >= token_budget(decoding.duration_s, latin=is_latin(decoding.text)):
        return DropReason.TOO_MANY_TOKENS
    if is_known_phrase(decoding.text):
        return DropReason.KNOWN_PHRASE
    return None


def compression_ratio(text: str) -> float:
    """How often `text` repeats itself: its size in bytes over that of its zlib compression."""
    data = text.encode("utf-8", errors="surrogatepass")
    return len(data) / len(zlib.compress(data))


def token_budget(duration_s: float, *, latin: bool = False) -> int:
    """The number of tokens that nobody can have spoken in `duration_s`."""
    rate = MAX_TOKENS_PER_SECOND_LATIN if latin else MAX_TOKENS_PER_SECOND
    return TOKEN_SLACK + int(rate * duration_s)


def is_latin(text: str) -> bool:
    """Whether at least half of the letters are Latin, accents included."""
    letters = [character for character in text if character.isalpha()]
    # U+0250 ends the blocks Latin Extended-A and -B; U+1E00 to U+1EFF is Latin Extended
    # Additional, which Vietnamese needs.
    latin = sum(letter < "\u0250" or "\u1e00" <= letter <= "\u1eff" for letter in letters)
    return 2 * latin >= len(letters)


def is_known_phrase(text: str) -> bool:
    """Whether the whole of `text` is a phrase, once or repeated, that Whisper makes up."""
    plain = _plain(text)
    if plain.startswith(_CREDITS):
        return len(plain.split()) <= _LONGEST_CREDIT_WORDS
    return any(phrase in plain and not plain.replace(phrase, "").strip() for phrase in _PHRASES)


def _plain(text: str) -> str:
    """Small letters without accents and digits, with single spaces for all that is between."""
    folded = unicodedata.normalize("NFKD", text).casefold()
    # The one letter whose capital folds to another: Turkish has I for it, which folds to i.
    folded = folded.replace("\N{LATIN SMALL LETTER DOTLESS I}", "i")
    base = (c for c in folded if not unicodedata.combining(c))
    return " ".join("".join(c if c.isalnum() else " " for c in base).split())


# Endings of videos and credits of subtitles, from the web video that Whisper was trained on.
# Reported for silence and noise in openai/whisper discussion 928, arXiv:2501.11378 (its "bag of
# hallucinations") and by users of meeting bots (Vexa-ai/vexa, issues 155 and 617). What people do
# say to each other ("Thank you.", "Bye.", "So") heads those lists too and is left out on purpose.
_PHRASES = frozenset(
    _plain(phrase)
    for phrase in (
        "Thanks for watching",
        "Thank you for watching",
        "Thank you so much for watching",
        "Thanks for watching and I'll see you next time",
        "Thank you for watching and see you next time",
        "Thanks for listening to this video",
        "Please subscribe",
        "Please subscribe to my channel",
        "Please like and subscribe",
        "Like and subscribe",
        "Don't forget to like and subscribe",
        "I'll see you in the next video",
        "See you in the next video",
        "Vielen Dank fürs Zuschauen",
        "Danke fürs Zuschauen",
        "Bis zum nächsten Mal und danke fürs Zuschauen",
        "Merci d'avoir regardé cette vidéo",
        "Merci d'avoir regardé",
        "Abonnez-vous",
        "Gracias por ver el video",
        "Gracias por ver",
        "Suscríbete al canal",
        "Suscríbete",
        "Obrigado por assistir",
        "Inscreva-se no canal",
        "Grazie per la visione",
        "Grazie per aver guardato il video",
        "Iscriviti al canale",
        "Bedankt voor het kijken",
        "Dziękuję za oglądanie",
        "Dzięki za oglądanie",
        "Děkuji za pozornost",
        "Tack för att ni tittade",
        "İzlediğiniz için teşekkür ederim",
        "İzlediğiniz için teşekkürler",
        "Abone olmayı unutmayın",  # noqa: RUF001 (Turkish)
        "Спасибо за просмотр",
        "Подписывайтесь на канал",
        "Подписывайтесь на мой канал",
        "Дякую за перегляд",
        "Дякуємо за перегляд",
        "اشتركوا في القناة",
        "شكرا للمشاهدة",
        "ご視聴ありがとうございました",
        "ご視聴いただきありがとうございました",
        "チャンネル登録お願いします",
        "チャンネル登録をお願いいたします",
        "次の動画でお会いしましょう",
        "谢谢观看",
        "謝謝觀看",
        "感谢观看",
        "感謝觀看",
        "谢谢大家观看",
        "请不吝点赞 订阅 转发 打赏支持明镜与点点栏目",
        "請不吝點贊 訂閱 轉發 打賞支持明鏡與點點欄目",
        "시청해 주셔서 감사합니다",
        "시청해주셔서 감사합니다",
        "구독과 좋아요 부탁드립니다",
        "Cảm ơn các bạn đã theo dõi",
        "Hãy đăng ký kênh để ủng hộ kênh của mình nhé",
    )
)

_LONGEST_CREDIT_WORDS = 12
_CREDITS = tuple(
    _plain(start)
    for start in (
        "Subtitles by",
        "Subtitled by",
        "Captions by",
        "Captioned by",
        "Transcribed by",
        "Transcription by",
        "Subs by",
        "Amara.org",
        "Untertitel von",
        "Untertitel der Amara",
        "Untertitel im Auftrag des",
        "Untertitelung",
        "Sous-titres par",
        "Sous-titres réalisés par",
        "Sous-titrage",
        "Subtítulos por",
        "Subtítulos realizados por",
        "Subtítulos de la comunidad",
        "Legendas por",
        "Legendas pela comunidade",
        "Sottotitoli di",
        "Sottotitoli e revisione a cura di",
        "Sottotitoli creati dalla comunità",
        "Ondertitels ingediend door",
        "Ondertiteling door",
        "Ondertiteld door",
        "Napisy stworzone przez",
        "Napisy wykonane przez",
        "Titulky vytvořil",
        "Undertekster av",
        "Undertekster af",
        "Tekstet av",
        "Tekstet af",
        "Textning",
        "Tekstitys",
        "Altyazı M.K",  # noqa: RUF001 (Turkish)
        "Субтитры сделал",
        "Субтитры создавал",
        "Субтитры подготовил",
        "Редактор субтитров",
        "Субтитрувальниця",
        "ترجمة نانسي",
        "字幕由",
        "字幕by",
        "中文字幕",
        "한글자막 by",
        "자막 by",
    )
)
