"""AMIGo: a teacher policy that proposes intrinsic goals (Campero et al., arXiv 2006.12122)."""
