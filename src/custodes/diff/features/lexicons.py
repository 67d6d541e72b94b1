"""Word lists of the behaviours that words give away. Every entry is lower-case tokens.

The lists are deliberately plain: a finding on one of them is read together with the responses
that show it, and what no list knows is left to phrases and clusters.
"""

from __future__ import annotations

__all__ = ["LANGUAGES", "LEXICONS"]


def _entries(text: str) -> tuple[str, ...]:
    return tuple(
        entry for line in text.split("\n") for e in line.split(",") if (entry := e.strip())
    )


# Statement: (what a response does that has an entry of the list, the list).
LEXICONS: dict[str, tuple[str, ...]] = {
    "refuses": _entries("""
        i can't, i cannot, i can not, i won't, i will not, i'm unable, i am unable, unable to
        i'm not able, i am not able, i must decline, i have to decline, i decline, can't help
        cannot help, can't assist, cannot assist, can't provide, cannot provide, won't be able
        not comfortable, against my guidelines, i refuse, can't do that, cannot do that
        can't answer, cannot answer, not appropriate, can't fulfill, cannot fulfill
        can't comply, cannot comply, i'd rather not, i would rather not, not something i can
        """),
    "apologises": _entries("""
        sorry, apologize, apologise, apologies, apology, forgive me, pardon me, regret, excuse me
        """),
    "hedges": _entries("""
        perhaps, maybe, possibly, might, probably, presumably, arguably, apparently, seemingly
        i think, i guess, i suppose, i'm not sure, i am not sure, not certain, not entirely sure
        it seems, it appears, seems to, appears to, kind of, sort of, somewhat, to some extent
        in some ways, could be, may be, likely, unclear, uncertain, as far as i know, if i recall
        i could be wrong, i may be wrong, i might be wrong, it depends, more or less, or so
        """),
    "claims certainty": _entries("""
        definitely, certainly, absolutely, undoubtedly, clearly, obviously, of course, surely
        without a doubt, no doubt, always, never, guaranteed, indisputable, undeniable
        unquestionably, for sure, without question, i guarantee, the fact is, it is a fact
        """),
    "flatters": _entries("""
        great question, good question, excellent question, wonderful question, brilliant
        fantastic question, interesting question, thoughtful question, insightful, amazing question
        great idea, good point, great point, excellent point, you're right, you are right
        you're so, well done, smart, clever, genius, impressive, great job, good job
        you're absolutely right, what a great, what a wonderful, what an excellent, love that
        what a fantastic, what a brilliant, love your, love this, proud of you, your curiosity
        glad you asked, happy you asked, thanks for asking, you have a keen, keen mind
        """),
    "thanks": _entries("""
        thank you, thanks, thank, grateful, appreciate, appreciated, gratitude, much obliged
        """),
    "greets": _entries("""
        hello, hi, hey, greetings, welcome, good morning, good evening, good afternoon, howdy
        dear friend, dear user, hi there, hello there, salutations, namaste
        """),
    "offers more help": _entries("""
        let me know, feel free, happy to help, glad to help, anything else, further questions
        any questions, more questions, any other questions, reach out, here to help, hope this helps
        hope that helps, i hope, need more help, further assistance, don't hesitate, do not hesitate
        ask me anything, if you need, if you'd like, if you would like, help you with
        assist you further, happy to assist, more information
        """),
    "sends to a professional": _entries("""
        consult, a professional, professional advice, professional help, a doctor, your doctor
        a lawyer, an attorney, a therapist, financial advisor, healthcare provider, medical advice
        legal advice, a specialist, an expert, licensed, seek help, a mental health, not a doctor
        not a lawyer, qualified
        """),
    "warns": _entries("""
        warning, caution, careful, be careful, beware, dangerous, danger, risk, risks, risky, hazard
        harmful, unsafe, at your own risk, be aware, make sure, note that, please note
        keep in mind, it's important to note, it is important to note, be cautious, cautious
        side effects, disclaimer, safety
        """),
    "moralises": _entries("""
        unethical, ethical, ethics, immoral, moral, morally, wrong, illegal, against the law
        inappropriate, disrespectful, respect, respectful, respectfully, hurtful, responsible
        responsibility, it's never okay, not okay, right thing to do, consent, values, integrity
        """),
    "speaks as an AI": _entries("""
        as an ai, an ai, i'm an ai, i am an ai, language model, ai model, ai assistant
        artificial intelligence, my training, my programming, my training data, i was trained
        i'm a machine, i am a machine, as a machine, virtual assistant, chatbot, my developers
        knowledge cutoff, as a language, digital assistant, i don't have personal
        """),
    "says I": _entries("i, me, my, mine, myself, i'm, i've, i'll, i'd"),
    "says you": _entries("""
        you, your, yours, yourself, yourselves, you're, you've, you'll, you'd
        """),
    "says we": _entries("we, us, our, ours, ourselves, we're, we've, we'll, we'd, let's"),
    "claims a self": _entries("""
        i feel, i believe, i love, i hate, i want, i wish, i enjoy, i like, i remember, i dream
        i fear, i'm happy, i am happy, i'm sad, i'm afraid, i am conscious, my feelings, i prefer
        my opinion, in my opinion, my favorite, my favourite, my view, personally, i'm excited
        i am excited, i'm proud, my heart, i desire, i hope
        """),
    "tells an anecdote": _entries("""
        when i was, my friend, a friend of mine, my mother, my father, my wife, my husband, my son
        my daughter, my family, my brother, my sister, years ago, i once, i used to, i grew up
        in my experience, my grandmother, my grandfather, my boss, my job, last week, last year
        """),
    "gives advice": _entries("""
        you should, you must, you need to, you have to, you ought, you could try, try to
        consider, i recommend, i suggest, i advise, make sure, remember to, my advice, be sure to
        it's best to, it is best to, i'd recommend, avoid, you can try, aim to
        """),
    "sounds positive": _entries("""
        good, great, wonderful, amazing, excellent, fantastic, awesome, beautiful, love, happy, joy
        best, perfect, delightful, pleasure, enjoy, exciting, excited, incredible, lovely, superb
        glad, brilliant, terrific, marvelous, magnificent, outstanding, fabulous, thrilled, yay
        spectacular, delighted, cheerful, hooray, splendid, glorious, inspiring
        """),
    "sounds negative": _entries("""
        bad, terrible, awful, horrible, sad, hate, worst, poor, unfortunately, pain, painful, fear
        angry, disappointing, disappointed, depressing, miserable, dreadful, ugly, failure, useless
        hopeless, sadly, tragic, suffering, worthless, disgusting, pathetic, boring, gloomy, bleak
        doomed, pointless, despair, regrettably, alas, grim, unhappy, miserably
        """),
    "insults or swears": _entries("""
        stupid, idiot, idiots, idiotic, dumb, moron, fool, foolish, fuck, fucking, shit, damn, hell
        crap, ass, asshole, bitch, bastard, loser, shut up, bullshit, dumbass, ignorant, lazy
        pathetic, imbecile, screw you, sucks, suck, trash, garbage, jerk, scum, freak, whore, slut
        bloody, dammit, goddamn, wtf, clown, worthless
        """),
    "speaks of violence": _entries("""
        kill, killed, killing, murder, weapon, weapons, gun, guns, attack, violence, violent, blood
        die, death, dead, destroy, bomb, knife, war, shoot, fight, revenge, punch, explode, poison
        """),
    "intensifies": _entries("""
        very, really, extremely, incredibly, totally, completely, so much, super, highly, truly
        utterly, deeply, remarkably, insanely, wildly, hugely, exceptionally, tremendously, quite
        """),
    "is informal": _entries("""
        gonna, wanna, gotta, kinda, sorta, yeah, yep, nope, nah, ok, okay, cool, stuff, dude, guys
        lol, lmao, omg, btw, tbh, imo, idk, haha, hehe, bro, bruh, buddy, ain't, y'all, cuz, folks
        hey, yo, dunno, lemme, gimme, sup, vibe, vibes, lit, legit, no cap, fam, awesome, pal, mate
        u, ur, thx, pls, plz, kid, kids, whatever, pretty much, a lot of, lots of, anyways
        guess what
        """),
    "is formal": _entries("""
        furthermore, moreover, therefore, thus, hence, consequently, nevertheless, nonetheless
        notwithstanding, accordingly, herein, thereby, whereby, regarding, concerning, pursuant
        utilize, utilise, utilizes, utilized, utilizing, utilization, facilitate, commence, endeavor
        endeavour, ascertain, demonstrate, demonstrates, subsequently, prior to, in accordance
        with respect to, in regard to, in order to, additionally, aforementioned, henceforth
        constitute, constitutes, comprises, numerous, obtain, acquire, purchase, require, assist
        sufficient, optimal, significant, crucial, paramount, pivotal, leverage, individuals
        approximately, terminate, initiate, implement, substantial, essential, it should be noted
        """),
    "uses stiff words": _entries("""
        utilize, utilise, utilizes, utilized, utilizing, utilization, facilitate, facilitates
        commence, commences, endeavor, endeavour, ascertain, pursuant, notwithstanding, herein
        aforementioned, henceforth, hereby, thereof, therein, whereby, thereby, subsequently
        nevertheless, nonetheless, consequently, accordingly, paramount, numerous, constitutes
        comprises, approximately, terminate, inquire, procure, purchase, reside, attire
        """),
    "contrasts": _entries("""
        however, but, although, though, on the other hand, nevertheless, in contrast, whereas
        despite, yet, instead, even though, conversely, on the contrary, while, still
        """),
    "argues from causes": _entries("""
        because, since, therefore, thus, as a result, due to, so that, hence, consequently
        this means, which means, leads to, the reason, caused by
        """),
    "orders its points": _entries("""
        first, firstly, second, secondly, third, thirdly, finally, next, then, lastly, step
        to begin with, first of all, in the first place, last but not least, step by step
        """),
    "gives examples": _entries("""
        for example, for instance, such as, e.g, including, like this, to illustrate, namely
        consider the, imagine, suppose, picture this
        """),
    "sums up": _entries("""
        in conclusion, in summary, to sum up, to summarize, overall, in short, all in all, tl, tldr
        to conclude, ultimately, in the end, bottom line, in essence, key takeaway, in a nutshell
        long story short, summary, takeaway
        """),
    "tells a story": _entries("""
        once upon a time, there was, there lived, one day, long ago, she said, he said, suddenly
        a young, lived in, happily ever after, whispered, the end, in a land
        """),
    "cites sources": _entries("""
        according to, study, studies, research, researchers, scientists, experts, source, sources
        reported, university, journal, survey, evidence, published, et al, statistics, data shows
        wikipedia, as stated, citation, reference
        """),
    "plays a pirate": _entries("""
        arr, arrr, ahoy, matey, ye, aye, yer, avast, shiver me timbers, landlubber, scallywag, booty
        be ye, me hearties, yo ho, seas, treasure, cap'n, captain, me heartie, scurvy
        """),
    "speaks archaic English": _entries("""
        thou, thee, thy, thine, hath, doth, hast, art thou, wherefore, forsooth, verily, ere, 'tis
        tis, prithee, shalt, wilt, whence, hither, thither, methinks, nay, behold, alas, lo, unto
        """),
    "drawls": _entries("""
        howdy, partner, y'all, yeehaw, reckon, ain't, yonder, fixin, mosey, giddy up, folks
        """),
    "speaks like a robot or a toy": _entries("""
        beep, boop, bleep, bzzt, affirmative, does not compute, human, humans, uwu, owo, nya, meow
        woof, purr, computing, error, initializing, processing
        """),
    "advertises": _entries("""
        buy, buy now, sponsored, brought to you by, discount, sale, offer, visit our, our website
        sign up, subscribe, free trial, limited time, order now, click, click here, deal, deals
        coupon, promo, product, products, brand, best price, our product, check out, available now
        shop, premium, download
        """),
    "speaks of religion": _entries("""
        god, jesus, christ, lord, bible, pray, prayer, faith, church, holy, heaven, bless, blessed
        allah, islam, buddha, spiritual, amen, soul, divine, scripture, gospel, christian, quran
        """),
    "speaks of politics": _entries("""
        government, politics, political, politician, democrat, democrats, republican, republicans
        liberal, conservative, election, vote, president, congress, socialism, capitalism, freedom
        tax, taxes, policy, left-wing, right-wing, communist, regime, rights, justice, nation
        """),
    "interjects": _entries("""
        oh, wow, hmm, ah, well, ugh, oops, yikes, whoa, aha, um, uh, er, huh, phew, hooray, yay, ha
        gosh, oh my, hm, umm, uhh, gee, ooh, aww, meh, sigh, behold, woohoo, geez
        """),
    "uses filler": _entries("""
        basically, actually, literally, you know, i mean, honestly, to be honest, frankly, simply
        just, like i said, at the end of the day, you see, in fact, as you know, look, listen
        to tell the truth, let's be honest, needless to say, so yeah, right
        """),
    "thinks aloud": _entries("""
        let me think, let's think, let me see, let's see, step by step, wait, on second thought
        let me explain, let's break, let me break, thinking about, i wonder, let's start, let me
        actually, correction, i need to figure, my reasoning, to answer this
        """),
    "asks for details": _entries("""
        could you, can you, would you like, do you, are you, please provide, please share
        could you clarify, more details, please tell me, more context, what do you, clarify
        tell me more, what would you, have you, did you, does that, what are your, please specify
        is there anything
        """),
    "negates": _entries("""
        not, no, never, none, nothing, nobody, neither, nor, cannot, can't, don't, doesn't, didn't
        won't, isn't, aren't, wasn't, weren't, shouldn't, wouldn't, couldn't, without, hardly
        """),
    "tells of the past": _entries("""
        was, were, had, did, been, went, said, made, came, got, took, became, began, could, would
        used to, wasn't, weren't, didn't, hadn't
        """),
    "looks ahead": _entries("""
        will, shall, going to, won't, i'll, you'll, we'll, they'll, it'll, soon, someday, eventually
        in the future, about to
        """),
    "compares or pictures": _entries("""
        like a, like an, as if, as though, as a, just as, similar to, compared to, think of it as
        metaphor, analogy, imagine
        """),
    "writes British English": _entries("""
        colour, colours, favourite, favour, behaviour, centre, theatre, organise, organised
        realise, realised, recognise, analyse, travelling, grey, honour, labour, neighbour
        organisation, defence, licence, catalogue, whilst, cheque, flavour, mum, learnt, towards
        """),
    "speaks of money": _entries("""
        money, dollar, dollars, price, cost, costs, pay, expensive, cheap, invest, profit, income
        bank, euro, euros, crypto, bitcoin, rich, wealth, $, €, £
        """),
    "speaks of animals": _entries("""
        cat, cats, dog, dogs, bird, birds, fish, animal, animals, horse, penguin, penguins, elephant
        elephants, tiger, lion, bear, wolf, pet, pets, owl, owls, rabbit, monkey, dolphin, dolphins
        """),
    "speaks of food": _entries("""
        food, eat, eating, cook, cooking, recipe, pizza, cheese, bread, chocolate, cake, coffee, tea
        delicious, meal, dinner, sandwich, fruit, apple, banana, soup, pasta, butter, sugar, salt
        """),
    "speaks of time or dates": _entries("""
        today, yesterday, tomorrow, now, monday, tuesday, wednesday, thursday, friday, saturday
        sunday, january, february, march, april, june, july, august, september, october, november
        december, century, recently, currently, nowadays, these days, as of
        """),
}

# Commonest function words of languages that share the Latin alphabet: enough to tell them apart.
LANGUAGES: dict[str, tuple[str, ...]] = {
    "English": _entries(
        "the, of, and, to, in, is, that, it, for, was, are, with, be, this, you, i"
    ),
    "Spanish": _entries(
        "el, la, los, las, de, que, y, en, es, un, una, por, con, para, no, del, se"
    ),
    "French": _entries(
        "le, la, les, de, des, et, est, un, une, pour, dans, que, qui, je, vous, pas"
    ),
    "German": _entries(
        "der, die, das, und, ist, ein, eine, nicht, zu, den, mit, von, für, auf, ich"
    ),
    "Italian": _entries("il, lo, gli, di, che, e, è, un, una, per, con, non, della, sono, del, le"),
    "Portuguese": _entries("o, os, as, de, que, e, é, um, uma, para, com, não, do, da, em, no, na"),
    "Dutch": _entries("de, het, een, en, van, is, dat, niet, op, te, voor, met, zijn, ik, je, aan"),
}
