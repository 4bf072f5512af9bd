"""The rooms behind `resilient wait`: what is asked for, how a target is asked, who keeps the books, how it is shown."""
