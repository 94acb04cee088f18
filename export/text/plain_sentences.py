"""Sentences that say nothing of a feeling: what a text encoder must not read one into."""

from __future__ import annotations

from collections.abc import Mapping

PLAIN: Mapping[str, tuple[str, ...]] = {
    # Cao et al., "CREMA-D" (IEEE Transactions on Affective Computing, 2014): acted in six emotions.
    "cremad": (
        "It's eleven o'clock.",
        "That is exactly what happened.",
        "I'm on my way to the meeting.",
        "I wonder what this is about.",
        "The airplane is almost full.",
        "Maybe tomorrow it will be cold.",
        "I would like a new alarm clock.",
        "I think I have a doctor's appointment.",
        "Don't forget a jacket.",
        "I think I've seen this before.",
        "The surface is slick.",
        "We'll stop in a couple of minutes.",
    ),
    # Livingstone and Russo, "RAVDESS" (PLoS ONE, 2018).
    "ravdess": ("Kids are talking by the door.", "Dogs are sitting by the door."),
    # IEEE Recommended Practice for Speech Quality Measurements (1969), lists 1 to 3.
    "harvard": (
        "The birch canoe slid on the smooth planks.",
        "Glue the sheet to the dark blue background.",
        "It's easy to tell the depth of a well.",
        "These days a chicken leg is a rare dish.",
        "Rice is often served in round bowls.",
        "The juice of lemons makes fine punch.",
        "The box was thrown beside the parked truck.",
        "The hogs were fed chopped corn and garbage.",
        "Four hours of steady work faced us.",
        "A large size in stockings is hard to sell.",
        "The boy was there when the sun rose.",
        "A rod is used to catch pink salmon.",
        "The source of the huge river is the clear spring.",
        "Kick the ball straight and follow through.",
        "Help the woman get back to her feet.",
        "A pot of tea helps to pass the evening.",
        "Smoky fires lack flame and heat.",
        "The soft cushion broke the man's fall.",
        "The salt breeze came across from the sea.",
        "The girl at the booth sold fifty bonds.",
    ),
    # Ours: what people say to machines and to each other all day.
    "everyday": (
        "What time does the train leave?",
        "Please turn on the light in the kitchen.",
        "The meeting is on Tuesday at ten.",
        "I put the keys on the table.",
        "He works in an office near the station.",
        "Set a timer for five minutes.",
        "We have two cars and a bicycle.",
        "The shop opens at nine in the morning.",
        "And so my fellow Americans, ask not what your country can do for you, "
        "ask what you can do for your country.",
        "¿A qué hora sale el tren?",
        "La reunión es el martes a las diez.",
        "He dejado las llaves en la mesa.",
        "La tienda abre a las nueve de la mañana.",
        "Trabaja en una oficina cerca de la estación.",
        "Pon un temporizador de cinco minutos.",
    ),
}
