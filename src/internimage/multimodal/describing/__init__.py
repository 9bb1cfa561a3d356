"""The task of pictures with words: captions, finding one by the other, answers."""
