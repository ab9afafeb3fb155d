"""topics.py: what berth-tiny is taught to know: questions and answers about Berth, and small tables of the world.

Data only; text.py makes sentences of it. Each entry of BERTH is ([questions], [answers]); what the answers say must be true of Berth.
"""

BERTH = [
    (["What is Berth?", "Tell me about Berth.", "What does Berth do?", "Explain Berth.", "Describe Berth in one sentence.", "What is berth for?"],
     ["Berth lets many AI programs share accelerators, on one machine or on many.",
      "Berth is a program that lets many AI programs share one GPU whose memory can't hold them all.",
      "Berth shares accelerators among AI programs. What does not fit in device memory waits in host memory."]),
    (["Who are you?", "What are you?", "What is your name?", "What model is this?", "Are you a person?", "Introduce yourself."],
     ["I am berth-tiny, a very small language model that comes with Berth.",
      "I am berth-tiny. I am small, so I know only a few things."]),
    (["How do I start Berth?", "How can I start Berth?", "How do I run Berth?", "How do I begin?", "What is the first command?"],
     ["Run berth up. It starts the node daemon, the pool and a worker.",
      "Type berth up. It prints the address of the pool and a link for the first sign-in."]),
    (["What does berth up do?", "What is berth up?"],
     ["It starts the node daemon, the pool and one worker, and prints the address of the pool."]),
    (["What does berth run do?", "What is berth run?", "How do I run a program under Berth?", "How do I share my GPU?"],
     ["Write berth run and then your command. The program then shares the device with others.",
      "berth run starts a program so that it shares the device. The program is not changed."]),
    (["What is berthd?", "What does berthd do?", "What is the daemon?"],
     ["berthd is the daemon of a machine. It decides which programs are in device memory and which may run."]),
    (["What is the pool?", "What does the pool do?", "What is berth-pool?"],
     ["The pool queues tasks, gives them to workers, and keeps their results.",
      "The pool is the part that queues tasks and places them on workers of many machines."]),
    (["What is a worker?", "What does a worker do?", "What is berth-worker?"],
     ["A worker runs tasks of the pool on its machine.", "A worker takes tasks from the pool, runs them, and sends the results back."]),
    (["What is a task?", "What is a task of the pool?"],
     ["A task is a piece of work: a command, or a request to a model. The pool finds a worker for it."]),
    (["How do I submit a task?", "How do I send a task?", "How can I give the pool work?"],
     ["Use berth submit and your command. With the option --wait you see its output.",
      "Run berth submit and then the command that is to run."]),
    (["How do I see my tasks?", "How can I list tasks?", "What does berth tasks do?"], ["Use berth tasks. It lists the tasks of the pool."]),
    (["How do I see what runs?", "What does berth top do?", "How can I watch the device?", "What is berth top?"],
     ["Use berth top. It shows live who is on the device, who waits and what moves."]),
    (["What does berth status do?", "How do I see the status?"], ["berth status shows the devices, the programs on them, and their memory."]),
    (["What does berth doctor do?", "What is wrong with my machine?"], ["berth doctor says what is missing on the machine, and what to do."]),
    (["How do I chat with a model?", "What does berth chat do?", "How do I talk to you?"],
     ["Use berth chat and the name of the model. You are reading my answer now."]),
    (["How do I list models?", "Which models are there?", "What does berth models do?"], ["Use berth models list. It shows each model and its state."]),
    (["How do I add a model?", "Can I use a bigger model?", "How can I use another model?"],
     ["Use berth models add with the file of the model. Then it is listed beside me."]),
    (["What is swapping?", "What does swapped out mean?", "What happens when memory is full?"],
     ["A program that is swapped out has its memory on the host. It comes back under the same addresses.",
      "When memory is full, one program gives way: its memory moves to the host, and another comes in."]),
    (["What is the gate?", "What does the gate do?"], ["The gate decides who is in device memory and who may run."]),
    (["What is the arena?", "What is the host arena?"], ["The arena is host memory that the daemon lends, so that programs can move out."]),
    (["What does resident mean?", "When is a model resident?"], ["A program is resident when its memory is on the device."]),
    (["What is a lease?"], ["A lease says that a worker has a task for some time. It is renewed while the work goes on."]),
    (["What is a device?", "What is an accelerator?"], ["A device is an accelerator, such as a GPU, that programs compute on."]),
    (["What is a GPU?"], ["A GPU is a device that computes many things at the same time. AI programs run on it."]),
    (["What is a token?"], ["A token is a piece of text. I write one token after the other."]),
    (["What is a language model?", "How do you work?"], ["A language model reads text and guesses the next piece, again and again."]),
    (["What is memory?", "What is device memory?"], ["Device memory is where a program keeps its data while it runs on the device."]),
    (["Do I need a GPU?", "Can I try Berth without a GPU?"], ["No. There is a software device, so you can try Berth without a GPU.",
                                                              "You need no GPU to try it. I run on the CPU, too."]),
    (["Do I have to change my program?", "Must I change my code?"], ["No. Programs are not changed, relinked or told."]),
    (["What happens when two programs fit?", "What happens if all programs fit?"], ["What fits runs side by side, and nothing moves."]),
    (["How long does a program wait?", "Who runs first?"], ["Programs take turns. Priority and time decide who is next, and the wait has a bound."]),
    (["What is priority?", "What are priorities?"], ["Priority says who goes first. Interactive work goes before batch work."]),
    (["What happens when a worker dies?", "What if a machine fails?"], ["The pool notices it, and its tasks run elsewhere."]),
    (["Does Berth lose my tasks?", "Are my tasks safe?"], ["No task that the pool has taken is lost. It writes each one down first."]),
    (["What is an engine?", "What is a model engine?"], ["An engine is the program that runs a model. A worker starts it when a request comes."]),
    (["How big are you?", "How large is this model?", "How many parameters do you have?"],
     ["I am very small: about one million parameters. Other models have billions.", "I have about one million parameters. That is very few."]),
    (["Are you always right?", "Can I trust you?", "Do you make mistakes?"], ["No. I am a very small model, and I make mistakes. Please check what I say."]),
    (["What can you do?", "Help", "Help me.", "What do you know?", "What can I ask you?"],
     ["I can talk about Berth, add small numbers, name days and months, make lists, and tell short stories.",
      "Ask me about Berth, small sums, the days of the week, or ask for a short story."]),
    (["Who made you?", "Where do you come from?"], ["I was made by the Berth project, from text that a small program wrote."]),
    (["Is Berth free?", "What is the license?"], ["Yes. Berth is free software under the license Apache-2.0."]),
    (["Which language is Berth written in?", "What is Berth written in?"], ["Berth is written in C."]),
    (["Which systems does Berth run on?", "Where does Berth run?"], ["Berth runs on Linux."]),
]

TALK = [
    (["Hello", "Hello!", "Hi", "Hi!", "Hello there!", "Hey", "Good day!"], ["Hello! How can I help you?", "Hello! What would you like to know?"]),
    (["Good morning!", "Good morning"], ["Good morning! How can I help you?"]),
    (["Good evening!", "Good evening"], ["Good evening! How can I help you?"]),
    (["Thank you!", "Thanks!", "Thank you very much."], ["You are welcome!", "You are welcome. Ask me more if you like."]),
    (["Goodbye!", "Bye!", "See you!", "Good night!"], ["Goodbye! Have a good day.", "Goodbye!"]),
    (["How are you?", "How do you do?"], ["I am well, thank you. How are you?", "All is well here. What would you like to know?"]),
    (["Are you there?", "Can you hear me?", "Test", "This is a test."], ["Yes, I am here.", "Yes. The model answers."]),
    (["Tell me a joke.", "Do you know a joke?"],
     ["Two programs wanted one GPU. They took turns. That is the whole joke.", "Why was the memory tired? It had to carry so many models."]),
    (["Say something.", "Tell me something."], ["A small model is better than no model.", "The sun is up, and the device is free."]),
]

# Questions that it cannot answer; what it learns is to say so.
TOO_HARD = ["quantum physics", "the stock market", "the president", "politics", "chess", "football", "medicine", "the law", "chemistry", "history",
            "philosophy", "the weather today", "my computer", "black holes", "the economy", "music theory", "the meaning of life", "cooking rice",
            "electric cars", "the roman empire", "the internet", "relativity", "evolution", "poetry", "the ocean floor", "airplanes", "the brain"]
HARD_FORMS = ["Explain {}.", "Tell me about {}.", "What do you think of {}?", "Write an essay about {}.", "What is the latest news on {}?",
              "How does one study {}?", "Give me a summary of {}.", "Why does {} matter?", "What do you know about {}?"]
HARD_ANSWERS = ["I don't know much about {}. I am a very small model.", "I am too small to know about {}.",
                "That is more than I know. Ask a larger model about {}."]

DAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
MONTHS = ["January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December"]
LENGTHS = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
SEASONS = {"January": "winter", "April": "spring", "July": "summer", "October": "autumn"}
ORDINALS = ["first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth", "eleventh", "twelfth"]
WORDS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]

LISTS = {
    "fruits": ["apple", "pear", "plum", "cherry", "banana", "orange", "grape"],
    "colours": ["red", "blue", "green", "yellow", "white", "black"],
    "animals": ["cat", "dog", "horse", "cow", "bird", "fish", "mouse"],
    "vegetables": ["carrot", "potato", "onion", "bean", "tomato"],
    "trees": ["oak", "birch", "pine", "ash", "elm"],
    "rivers": ["Rhine", "Nile", "Danube", "Amazon", "Volga"],
    "planets": ["Mercury", "Venus", "Earth", "Mars", "Jupiter", "Saturn"],
    "tools": ["hammer", "saw", "knife", "spoon", "needle"],
    "countries": ["France", "Italy", "Spain", "Japan", "Brazil", "Egypt"],
    "instruments": ["piano", "violin", "flute", "drum", "guitar"],
}

CAPITALS = {"France": "Paris", "Germany": "Berlin", "Italy": "Rome", "Spain": "Madrid", "Japan": "Tokyo", "Egypt": "Cairo", "Poland": "Warsaw",
            "Austria": "Vienna", "Norway": "Oslo", "Sweden": "Stockholm", "Greece": "Athens", "Portugal": "Lisbon", "Russia": "Moscow",
            "China": "Beijing", "England": "London", "Ireland": "Dublin", "Finland": "Helsinki", "Denmark": "Copenhagen", "Peru": "Lima", "Cuba": "Havana"}
OPPOSITES = {"hot": "cold", "big": "small", "long": "short", "fast": "slow", "day": "night", "up": "down", "open": "closed", "new": "old",
             "full": "empty", "light": "dark", "early": "late", "hard": "soft", "left": "right", "good": "bad", "strong": "weak"}
THINGS = {"the sky": "blue", "grass": "green", "snow": "white", "blood": "red", "a banana": "yellow", "coal": "black", "an orange": "orange",
          "the sun": "yellow", "milk": "white", "a leaf": "green"}
SOUNDS = {"cat": "meow", "dog": "woof", "cow": "moo", "duck": "quack", "sheep": "baa", "bird": "tweet"}
LEGS = {"cat": 4, "dog": 4, "horse": 4, "bird": 2, "fish": 0, "spider": 8, "ant": 6, "person": 2}
HELLO = {"German": "Grüß dich!", "French": "Bonjour, ça va?", "Spanish": "¡Hola, señor!", "Japanese": "こんにちは", "Chinese": "你好", "Russian": "Привет",
         "Greek": "Γειά σου", "Korean": "안녕하세요", "Emoji": "👋🙂", "Italian": "Ciao!", "Polish": "Cześć", "Hindi": "नमस्ते"}

NAMES = ["Ada", "Tom", "Mia", "Leo", "Nora", "Ben", "Eva", "Max", "Lena", "Sam", "Ida", "Paul"]
PLACES = ["garden", "forest", "house", "river", "hill", "village", "harbour", "field"]
WANTED = ["ball", "key", "book", "lamp", "boat", "cake", "hat", "bell"]
MOODS = ["happy", "tired", "curious", "brave", "quiet", "hungry"]
WEATHER = ["sunny", "rainy", "windy", "cold", "warm"]

CODE = [
    (["adds two numbers"], "def add(a, b):\n    return a + b"),
    (["multiplies two numbers"], "def multiply(a, b):\n    return a * b"),
    (["subtracts two numbers"], "def subtract(a, b):\n    return a - b"),
    (["returns the larger of two numbers", "gives the maximum of two numbers"], "def largest(a, b):\n    if a > b:\n        return a\n    return b"),
    (["says hello", "prints hello"], "def hello():\n    print(\"Hello!\")"),
    (["counts to ten", "prints the numbers from one to ten"], "def count():\n    for i in range(1, 11):\n        print(i)"),
    (["sums a list", "adds all numbers of a list"], "def total(numbers):\n    result = 0\n    for n in numbers:\n        result = result + n\n    return result"),
    (["tells whether a number is even"], "def is_even(n):\n    return n % 2 == 0"),
    (["squares a number"], "def square(n):\n    return n * n"),
    (["reverses a text", "turns a string round"], "def reverse(text):\n    return text[::-1]"),
    (["computes the factorial", "returns the factorial of n"], "def factorial(n):\n    if n < 2:\n        return 1\n    return n * factorial(n - 1)"),
]
