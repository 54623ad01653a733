with

final as (

    {{ experiment_rows('robustness') }}

)

select * from final
