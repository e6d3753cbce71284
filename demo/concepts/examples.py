"""The tools that edgefc ships (`edgefc/example_tools.py`), with very many ways to ask for them."""

from demo.bank import P, T

UNIT = {"celsius": "celsius", "fahrenheit": "fahrenheit"}
CONCEPTS = [
    T(
        "get_weather weather.current currentWeather fetch_weather",
        ["Get the current weather for a city", "Current weather in a place", "Look up the weather"],
        [
            P("location city place town", "string", "city", about=["City name", "Where", "The city"], required=True,
              ask=["Which city do you want the weather for?", "For which city?", "Which city do you mean?"]),
            P("unit temperature_unit units", "string", enum=UNIT, about=["Unit of the temperature", "Temperature unit"]),
        ],
        [
            "What is the weather in {location}?", "what's the weather like in {location}", "How is the weather in {location} today?",
            "weather {location}", "weather in {location} in {unit}", "Is it raining in {location}?", "Is it cold in {location}?",
            "How hot is it in {location}, in {unit}?", "Tell me the temperature in {location}", "temperature in {location} in {unit} please",
            "Do I need an umbrella in {location}?", "Give me the current weather for {location}", "I am in {location}, what's the weather?",
            "I'm flying to {location}, how is the weather there?", "What's it like outside in {location}?", "current conditions in {location}",
            "Is the sun shining in {location} right now?", "Could you check the weather for {location} using {unit}?",
            "Show {unit} temperature for {location}", "What's the weather like in {location} in {unit}?", "{location} weather",
            "How warm is {location} at the moment?", "Should I wear a coat in {location}?", "will I get wet in {location}",
            "What's the weather like?", "How's the weather?", "what is the temperature outside", "Is it raining?", "weather please",
            "Tell me the weather in {unit}", "How warm is it?", "Do I need a jacket today?",
        ],
        {"location": "=location", "temperature": "temperature", "unit": "=unit|celsius", "conditions": "conditions"},
        [
            "It is {temperature} degrees {unit} with {conditions} in {location}.", "In {location} it is {temperature} degrees {unit} with {conditions}.",
            "{location}: {temperature} degrees {unit}, {conditions}.",
        ],
    ),
    T(
        "get_time time.now local_time currentTime clock_in",
        ["Get the current local time in a city", "Local time in a city", "What time it is somewhere"],
        [P("city location place", "string", "city", about=["City name", "The city"], required=True,
           ask=["Which city do you want the time for?", "In which city?"])],
        [
            "What time is it in {city}?", "time in {city}", "What's the time in {city} now?", "Tell me the local time in {city}",
            "current time {city}", "How late is it in {city}?", "Is it still morning in {city}?", "what hour is it in {city} right now",
            "Can I call someone in {city} now or is it too late there?", "I need the time in {city}", "do you know what time it is in {city}?",
            "What does the clock say in {city}?", "{city} time", "Give me the date and time in {city}", "What day is it in {city}?",
            "What time is it?", "What's the time there?", "tell me the local time",
        ],
        {"city": "=city", "time": "clock", "date": "long_date"},
        ["It is {time} on {date} in {city}.", "In {city} it is {time}, {date}.", "{city}: {time}, {date}."],
    ),
    T(
        "calculate calc math.evaluate evaluateExpression compute",
        ["Work out an arithmetic expression", "Evaluate an arithmetic expression", "Calculator"],
        [P("expression formula expr", "string", "expression", about=["The expression, for example 17*23", "Expression to evaluate", "Arithmetic expression"],
           required=True, ask=["What should I calculate?", "Which expression?"])],
        [
            "What's {expression}?", "What is {expression}?", "calculate {expression}", "How much is {expression}?", "{expression}",
            "Work out {expression}", "Can you compute {expression}?", "{expression} = ?", "please evaluate {expression}", "solve {expression}",
            "I need the result of {expression}", "do the math: {expression}", "Tell me what {expression} is", "what does {expression} make",
            "what do you get for {expression}", "Could you calculate something for me?", "I need a calculation", "do some math for me",
        ],
        {"expression": "=expression", "result": "number"},
        ["{expression} is {result}.", "The result is {result}.", "{expression} = {result}"],
    ),
    T(
        "convert_units units.convert unitConverter convert",
        ["Convert a quantity from one unit to another", "Unit conversion", "Convert between units"],
        [
            P("value amount quantity", "number", "number", about=["The quantity", "Amount to convert"], required=True, ask=["How much?", "What quantity should I convert?"]),
            P("from_unit source from", "string", "unit", about=["Unit to convert from", "Original unit"], required=True, ask=["From which unit?"]),
            P("to_unit target to", "string", "unit", about=["Unit to convert to", "Wanted unit"], required=True, ask=["To which unit?", "Into which unit should I convert it?"]),
        ],
        [
            "Convert {value} {from_unit} to {to_unit}", "How many {to_unit} are {value} {from_unit}?", "{value} {from_unit} in {to_unit}",
            "what is {value} {from_unit} in {to_unit}?", "I have {value} {from_unit}, how much is that in {to_unit}?", "change {value} {from_unit} into {to_unit}",
            "express {value} {from_unit} in {to_unit} please", "how much is {value} {from_unit} in {to_unit}", "turn {value} {from_unit} into {to_unit}",
            "{value} {from_unit} to {to_unit}", "from {from_unit} to {to_unit}: {value}", "convert {value} {from_unit}", "Convert to {to_unit} please",
            "How many {to_unit} are in {value} {from_unit}?",
        ],
        {"value": "=value", "from_unit": "=from_unit", "to_unit": "=to_unit", "result": "number"},
        ["{value} {from_unit} is {result} {to_unit}.", "That is {result} {to_unit}.", "{value} {from_unit} = {result} {to_unit}"],
    ),
    T(
        "roll_dice dice.roll throwDice random_dice",
        ["Roll dice", "Throw one or more dice", "Roll some dice"],
        [
            P("sides faces", "integer", values=[4, 6, 8, 10, 12, 20, 100, 3, 30], about=["Number of sides", "Sides of each die"]),
            P("count number n", "integer", values=[1, 2, 3, 4, 5, 6, 7, 8, 10], about=["Number of dice", "How many dice"]),
        ],
        [
            "Roll a die", "roll the dice", "Roll {count} dice", "Roll {count} dice with {sides} sides", "throw a {sides}-sided die",
            "Throw {count} dice for me", "roll a dice please", "can you roll {count} {sides}-sided dice?", "I need a roll of the dice", "let's roll",
            "give me {count} dice rolls", "Roll a die with {sides} sides", "toss {count} dice", "please throw the dice",
        ],
        {"rolls": "rolls", "total": "small_int"},
        ["The dice show {rolls}, {total} in total.", "You rolled {rolls}: {total} in total.", "Total: {total}."],
    ),
    T(
        "add_note notes.add saveNote create_note remember",
        ["Save a short note", "Write down a note", "Keep a note for later"],
        [P("text note content", "string", "sentence", about=["The note", "Text of the note"], required=True, ask=["What should I note?", "What should the note say?"])],
        [
            "Note: {text}", "Add a note: {text}", "remember to {text}", "Write this down: {text}", "save a note saying {text}", "Please note that {text}",
            "make a note: {text}", "note down {text}", "keep in mind: {text}", "add {text} to my notes", "jot down: {text}", "new note {text}", "take a note: {text}",
            "Take a note", "add a note please", "I want to save a note",
        ],
        {"saved": "true", "notes": "small_int"},
        ["Saved. You have {notes} notes.", "I saved the note; there are {notes} now.", "Done, that makes {notes} notes."],
    ),
]  # fmt: skip
